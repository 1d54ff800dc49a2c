"""WhatsApp's limits of buttons, lists and polls."""

MAX_BUTTONS, MAX_ROWS, MAX_OPTIONS = 3, 10, 12
MAX_TEXT_LENGTH, MAX_BUTTON_LENGTH = 1024, 20
