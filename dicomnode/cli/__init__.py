"""The command line: one file per command.  Facts go to standard output, talk to standard error."""
