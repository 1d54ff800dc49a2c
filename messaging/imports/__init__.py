"""Import chats that WhatsApp's "Export chat" has written."""
