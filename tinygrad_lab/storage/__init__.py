"""What goes to disk: whole files, named arrays, and descriptions of objects. Pickle is never used.

weights of a layer --> named arrays, with a digest --> whole files            objects --> descriptions
"""
