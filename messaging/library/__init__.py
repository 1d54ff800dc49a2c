"""Files that agent profiles may send."""
