"""What is wrong with a cluster, before an hour is lost: facts, judgements on them, and trials."""
