"""Read what a model wrote: without its thoughts, with the tool calls written as text, and streams as one answer."""
