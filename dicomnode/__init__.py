"""A DICOM node that runs Triton models on CT series and answers with SEG and SR.

Only the version lives here: importing the package must cost nothing.
"""

__version__ = "0.1.0"
