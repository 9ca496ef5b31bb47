"""One HTML file of everything that longtail commands left in a folder."""
