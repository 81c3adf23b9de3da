"""Settings files that no daemon can use, and what each has to tell about them."""


def settings_files(count: str, seconds: str) -> list[tuple[bytes, str]]:
    """Return contents and a part of the message, for a daemon with keys of that kind.

    `count` is a whole number, `seconds` a number of seconds; every daemon has the other keys.
    """
    n, s = count.encode(), seconds.encode()
    return [
        (n + b" = \xff", "is not TOML"),
        (n + b" =", "is not TOML"),
        (n + b" = 1\n? = 1\n", "line 2, column 1"),
        (n + b" = " + b"[" * 100_000, "is nested too deeply"),
        (n + b" = " + b"{a=" * 50_000, "is nested too deeply"),
        (n + b" = " + b"9" * 10_000, "is not TOML"),
        (b"#" * 300_000, "it is larger than 256 KiB"),
        (n + b" = [[1]]", f"{count} = […]"),
        (n + b" = {a = 1}", f"{count} = {{…}}"),
        (n + b' = "3"', f'{count} = "3"'),
        (n + b" = 1979-05-27T07:32:00Z", f"{count} = 1979-05-27"),
        (s + b" = true", f"{seconds} = true"),
        (s + b" = nan", f"{seconds} = nan"),
        (s + b" = inf", "at most 1e9"),
        (s + b" = " + b"9" * 400, f"{seconds} = 999"),
        (b'cluster_key_file = "a\\u0000b"', "text without control characters"),
        (b'cluster_key_file = "a\\u001b[31m"', "text without control characters"),
        (b'"\\u001b[31m" = 1', r"unknown key \x1b[31m"),
        (b"k" * 100_000 + b" = 1", "unknown key kkk"),
        (n + b"s = 1", f"unknown key {count}s; did you mean {count}?"),
        (b"colour = 1", "the keys are listen, http_listen"),
        (b'log_level = "' + b"x" * 100_000 + b'"', "log_level = "),
    ]
