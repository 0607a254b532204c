"""Storage SCU and delivery to a folder.  Nothing here knows what is sent or when to try again."""
