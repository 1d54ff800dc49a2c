"""What an agent profile knows: question-answer pairs and documents, and their search."""
