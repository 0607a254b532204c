"""Findings -> SEG, SR, picture and JSON summary.  No file is written and nothing is sent here."""
