"""What the layers promise each other, as Protocols. No code runs here."""
