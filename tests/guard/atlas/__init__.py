"""The list of texts guarded, in `atlas/`: its rules, and that each text has a row or is left out."""
