"""Early stop: plain tuning that stops at the same task loss as every other arm; a baseline.

It shows how much of a defence's effect comes from stopping at the matched loss alone.
"""

from securetune.defences.interface import Defence

defence = Defence(title="IFT, early stop", paper="baseline", is_defence=False)
