"""The recipe of the bundled voice, `models/tts-demo`: text to speech in Kyutai's layout."""
