"""Networks: an image in, a logit for every class and pixel out."""
