"""Whether two trainings from the weights of one epoch end in one valley: what epoch lottery tickets rewind to."""
