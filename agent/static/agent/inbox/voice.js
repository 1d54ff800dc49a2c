// Voice notes: recorded in the browser where it can, then attached like a file.

import { attach } from "./composer.js";
import { $, say, strings } from "./server.js";

const FORMATS = [
  { type: "audio/ogg;codecs=opus", name: "voice.ogg" },
  { type: "audio/mp4", name: "voice.m4a", needsConversion: true },
];
const MAX_SECONDS = 600;
let isBusy = false; // from the click, which asks for permission, until the microphone is off again
let recording = null; // the recorder while it runs, and whether what it records is wanted

/** Return the format to record in: only Ogg Opus where the bridge converts nothing. */
function formatFor(button) {
  if (!window.MediaRecorder || !navigator.mediaDevices) return null;
  return FORMATS.find(
    ({ type, needsConversion }) => MediaRecorder.isTypeSupported(type) && (!needsConversion || button.dataset.anyAudio),
  );
}

async function record(format) {
  if (isBusy) return;
  isBusy = true;
  let stream = null;
  let clock = 0;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const recorder = new MediaRecorder(stream, { mimeType: format.type });
    const pieces = [];
    recorder.addEventListener("dataavailable", (event) => event.data.size && pieces.push(event.data));
    const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve));
    recorder.start();
    recording = { recorder, isWanted: true };
    const startedAt = Date.now();
    clock = setInterval(() => showTime(startedAt), 500);
    showTime(startedAt);
    $("recording").hidden = false;
    $("extras").open = false;
    $("stop-recording").focus();
    await stopped; // by a button, by the limit, or because the microphone is gone
    if (recording.isWanted && !pieces.length) say(strings.noMicrophone, true);
    else if (recording.isWanted) attach([new File(pieces, format.name, { type: format.type })], "voice", true);
  } catch {
    say(strings.noMicrophone, true);
  } finally {
    clearInterval(clock);
    for (const track of stream?.getTracks() ?? []) track.stop();
    $("recording").hidden = true;
    recording = null;
    isBusy = false;
  }
}

function showTime(startedAt) {
  const seconds = Math.floor((Date.now() - startedAt) / 1000);
  const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  $("recording").firstElementChild.textContent = `${strings.recording} ${time}`;
  if (seconds >= MAX_SECONDS) finish(true);
}

function finish(isWanted) {
  if (recording?.recorder.state !== "recording") return;
  recording.isWanted = isWanted;
  recording.recorder.stop();
}

export function startVoice() {
  const button = $("record");
  const format = button && formatFor(button);
  if (!format) return;
  button.hidden = false;
  button.addEventListener("click", () => record(format));
  $("stop-recording").addEventListener("click", () => finish(true));
  $("drop-recording").addEventListener("click", () => finish(false));
  window.addEventListener("beforeunload", (event) => {
    if (recording) event.preventDefault();
  });
}
