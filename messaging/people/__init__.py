"""What an operator does for one person: export everything about them, and forget it."""
