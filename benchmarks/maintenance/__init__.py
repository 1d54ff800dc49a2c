"""What maintenance costs a running installation."""
