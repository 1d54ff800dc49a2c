"""What it costs to answer, measured from outside: `make bench`, `make drill`."""
