// Speaking in place of typing: what is said is written into the message while it is said.

import { requestJson } from "./api.js";
import { say } from "./dom.js";
import { modelsThat, onCluster } from "./live.js";

const RATE = 16000;
const EVERY_MS = 1500;
const MOST_SECONDS = 120;

/** Let `button` record, and write what is heard after the text in `input`. */
export function microphone(button, input, complain) {
  let recording = null;

  const listeners = () => modelsThat("hear").filter((model) => model.kind === "transcription");
  onCluster(() => {
    button.hidden = !navigator.mediaDevices || !listeners().length;
  });

  const show = () => {
    say(button, recording ? "■" : "●");
    button.setAttribute("aria-label", recording ? "Stop recording" : "Speak");
    button.setAttribute("aria-pressed", Boolean(recording));
  };

  async function start() {
    complain("");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true } });
    } catch {
      complain("The browser gives this page no microphone.");
      return;
    }
    const context = new AudioContext({ sampleRate: RATE });
    await context.audioWorklet.addModule("/page/recorder.js");
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(recorder);
    const before = input.value && !input.value.endsWith(" ") ? `${input.value} ` : input.value;
    const now = (recording = { chunks: [], samples: 0, stopped: false, stop: () => {} });
    recorder.port.onmessage = ({ data }) => {
      now.chunks.push(data);
      now.samples += data.length;
      if (now.samples > MOST_SECONDS * RATE) now.stop();
    };
    now.stop = () => {
      if (now.stopped) return;
      now.stopped = true;
      for (const track of stream.getTracks()) track.stop();
      context.close();
      recording = null;
      show();
    };
    show();
    await write(now, before);
  }

  /** Have what was recorded so far written down, again and again, and once more at its end. */
  async function write(now, before) {
    for (let last = false; !last; ) {
      await new Promise((resolve) => setTimeout(resolve, now.stopped ? 0 : EVERY_MS));
      last = now.stopped;
      if (!now.samples) continue;
      const form = new FormData();
      form.append("model", listeners()[0]?.name ?? "");
      form.append("file", new Blob([wav(now.chunks, now.samples)], { type: "audio/wav" }), "speech.wav");
      try {
        const answer = await requestJson("/v1/audio/transcriptions", { body: form });
        input.value = before + answer.text.trim();
      } catch (error) {
        complain(error.message);
        now.stop();
        return;
      }
    }
    input.focus();
  }

  button.addEventListener("click", () => (recording ? recording.stop() : start()));
  show();
}

/** Return a WAV file of so many samples, 16 bits each; the format is RIFF's, as of 1991. */
function wav(chunks, samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples));
  const text = (at, letters) => [...letters].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples, true);
  let at = 44;
  for (const chunk of chunks) {
    for (const sample of chunk) {
      view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
      at += 2;
    }
  }
  return view.buffer;
}
