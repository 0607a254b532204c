"""Storage and Verification SCP: admission, negotiation, C-STORE.  Nothing here sends."""
