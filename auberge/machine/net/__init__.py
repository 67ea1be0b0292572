"""Networks for guests, without root: what is at the other end of a network device's cable."""
