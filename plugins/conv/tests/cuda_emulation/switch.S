// void emulation_switch(void** save, void* load): leaves one fiber's stack for another's (x86-64).
.globl emulation_switch
emulation_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.section .note.GNU-stack,"",@progbits
