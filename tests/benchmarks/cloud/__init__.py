"""The cloud server beside others, each as well configured as it can be: ``make bench-cloud``."""
