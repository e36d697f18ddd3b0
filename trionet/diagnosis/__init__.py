"""The checks of ``trionet doctor``: from the facts that members tell, to what is wrong, and what to do.

Pure: facts in, findings out.
"""
