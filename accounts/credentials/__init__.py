"""How a caller proves who it is: passwords, tokens, API keys, and the lockout after wrong ones."""
