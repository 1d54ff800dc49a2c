"""Edit and delete what we sent."""
