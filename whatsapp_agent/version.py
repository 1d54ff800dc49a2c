"""The version of this project. A backup names it, and a restore refuses one of a newer version."""

VERSION = "0.1.0"
