"""In-memory or local stand-ins for what Warmwire talks to, with all the bad manners of the real ones."""
