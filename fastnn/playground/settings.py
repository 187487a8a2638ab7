"""The settings of the playground: keys, types, defaults, choices and limits, in one table.

The keys up to `initZero` are those that TensorFlow Playground writes into the hash of its address, with its values
(https://github.com/tensorflow/playground, src/state.ts), so that its links are valid here.
"""
