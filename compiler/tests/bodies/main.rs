//! Compiled bodies against what they mean: every operator's samples, random bodies, and the bits of both.
mod epilogues;
mod harness;
mod random;
mod samples;
mod shapes;
