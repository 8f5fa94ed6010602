"""Writes the vectors that need no other program: python3 make/hand.py"""
import hand_arrow
import hand_invalid
import hand_send
import hand_valid
from common import Producer

producer = Producer("hand", "written")
for module in (hand_valid, hand_invalid, hand_arrow, hand_send):
    module.write(producer)
print(len(producer.written), "vectors")
