#!/usr/bin/env bash
# From nothing to a checkpoint: installs, synthesises, trains, evaluates, exports. Run it again to resume.
#   training/train.sh [--device cpu|cuda] [--cache DIR] [--out DIR] [--scale F]      the listener, models/stt-demo
#   training/train.sh voice [--cache DIR] [--out DIR] [--scale F]                    the voice, models/tts-demo
set -euo pipefail
cd "$(dirname "$0")/.."

recipe=training.run
packages=(espeak-ng libespeak-ng1 flite festival festvox-us-slt-hts festvox-kallpc16k festvox-kdlpc16k)
if [ "${1:-}" = voice ]; then
  shift
  recipe=training.voice.run
  packages=(wordnet-base)
fi
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
  echo "installing ${packages[*]}"
  as_root=$([ "$(id -u)" = 0 ] || echo sudo)
  $as_root apt-get update -q && $as_root apt-get install -qy --no-install-recommends "${packages[@]}"
fi
# A recorded person, for evaluation alone (8 kHz telephone prompts); the evaluation skips it when absent.
dpkg -s asterisk-core-sounds-en-wav >/dev/null 2>&1 ||
  echo "note: install asterisk-core-sounds-en-wav to evaluate on a person's recordings"

venv=${VENV:-.venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q -r training/requirements.txt
"$venv/bin/pip" install -q --no-deps -r training/requirements-nodeps.txt

# Without these glibc gives every activation back to the kernel and the time goes into page faults.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000 MALLOC_TOP_PAD_=268435456
exec "$venv/bin/python" -m "$recipe" "$@"
