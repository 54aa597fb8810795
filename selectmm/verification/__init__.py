"""Does this evaluator give a released checkpoint the scores that its makers released?"""
