"""The browser view: a local web server and the viewer state."""
