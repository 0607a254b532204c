"""Values that PS3 defines: AE titles, UIDs, SOP classes, statuses, codes.  No I/O, no policy."""
