// Voice notes: recorded in the browser where it can, then attached like a file.

import { attach } from "./composer.js";
import { $, say, strings } from "./server.js";

const FORMATS = [
  { type: "audio/ogg;codecs=opus", name: "voice.ogg" },
  { type: "audio/mp4", name: "voice.m4a", needsConversion: true },
];
const MAX_SECONDS = 600;
let recorder = null;

/** Return the format to record in: only Ogg Opus where the bridge converts nothing. */
function formatFor(button) {
  if (!window.MediaRecorder || !navigator.mediaDevices) return null;
  return FORMATS.find(
    ({ type, needsConversion }) => MediaRecorder.isTypeSupported(type) && (!needsConversion || button.dataset.anyAudio),
  );
}

async function record(format) {
  if (recorder) return;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    return say(strings.noMicrophone, true);
  }
  const pieces = [];
  let seconds = 0;
  const show = () => {
    const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    $("recording").firstElementChild.textContent = `${strings.recording} ${time}`;
  };
  const clock = setInterval(() => {
    seconds += 1;
    show();
    if (seconds >= MAX_SECONDS) finish(true);
  }, 1000);
  recorder = new MediaRecorder(stream, { mimeType: format.type });
  recorder.isWanted = false;
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  recorder.addEventListener("stop", () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
    if (recorder.isWanted) attach([new File(pieces, format.name, { type: format.type })], "voice");
    recorder = null;
    $("recording").hidden = true;
  });
  show();
  $("recording").hidden = false;
  $("extras").open = false;
  recorder.start();
  $("stop-recording").focus();
}

function finish(isWanted) {
  if (!recorder || recorder.state === "inactive") return;
  recorder.isWanted = isWanted;
  recorder.stop();
}

export function startVoice() {
  const button = $("record");
  const format = button && formatFor(button);
  if (!format) return;
  button.hidden = false;
  button.addEventListener("click", () => record(format));
  $("stop-recording").addEventListener("click", () => finish(true));
  $("drop-recording").addEventListener("click", () => finish(false));
}
