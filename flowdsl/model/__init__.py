"""What Amazon SWF says: events, decisions, histories and the texts in them. Pure: no clock, no file, no thread, no network."""
