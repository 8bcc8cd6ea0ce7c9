"""The session model of its own that Django documents in "Extending database-backed session engines"."""
