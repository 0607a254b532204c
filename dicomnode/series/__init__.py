"""When a series is complete, and what happens then: `completion` decides, `registry` acts."""
