"""Buttons and lists that a contact chooses from."""
