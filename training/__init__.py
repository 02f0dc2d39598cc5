"""The recipe for the bundled checkpoint: see train.sh."""
