// Numbers as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 5368709120 → "5.0 GiB" */
export function bytes(count) {
  let unit = 0;
  while (count >= 1024 && unit < UNITS.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${count >= 100 || unit === 0 ? Math.round(count) : count.toFixed(1)} ${UNITS[unit]}`;
}

const THIN = "\u202f";

const units = (...parts) => parts.map(([value, unit]) => `${value}${THIN}${unit}`).join(" ");

/** 0.0421 → "42 ms", 75 → "1 min 15 s" */
export function duration(seconds) {
  if (seconds < 0.9995) return units([Math.round(seconds * 1000), "ms"]);
  if (seconds < 59.95) return units([Number.isInteger(seconds) ? seconds : seconds.toFixed(1), "s"]);
  const whole = Math.round(seconds);
  if (whole < 3600) return units([Math.floor(whole / 60), "min"], [whole % 60, "s"]);
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return units([Math.floor(minutes / 60), "h"], [minutes % 60, "min"]);
  const hours = Math.round(seconds / 3600);
  return units([Math.floor(hours / 24), "d"], [hours % 24, "h"]);
}

/** 12345 → "12,345"; small numbers keep a decimal. */
export function number(value) {
  return value < 100 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

/** How long ago something was, roughly. */
export function ago(seconds) {
  if (seconds < 2) return "now";
  if (seconds < 60) return `${Math.round(seconds)}${THIN}s ago`;
  return `${duration(seconds).split(" ")[0]} ago`;
}
