"""The pages of EdgeManager: each answers one question in five seconds."""
