"""pricematch: which model's solutions teach most for the same money?"""

__version__ = "0.1.0"
