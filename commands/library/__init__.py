"""The commands that come with the project. A module put here declares its commands and needs no other mention."""
