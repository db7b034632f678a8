//! regorus links libraries of Microsoft's compiler with this. Nothing of this project is built with that compiler.

#![no_std]
