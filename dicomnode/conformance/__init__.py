"""The DICOM conformance statement of a configuration (PS3.2 Annex N), and the facts it states.

What is negotiated and answered is asked from the code that does it.  Nothing here does it.
"""
