"""The papers' own comparisons on small models and real data: which method comes out ahead, and does it here too?"""
