"""After the commit: who hears of it, on which topic."""
